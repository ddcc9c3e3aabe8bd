"""Log-mel spectrograms of waveforms, and the responses of microphones."""
