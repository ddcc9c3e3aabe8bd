"""Many small networks, written as people write them, beside two other pruners."""
