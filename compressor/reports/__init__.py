"""The end of a compression: counted anew, certified, drawn and returned."""
