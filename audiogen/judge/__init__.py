"""The recogniser of a model: which of the labels that it learnt a sound is heard as."""
