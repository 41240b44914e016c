"""The default data set: sound textures made by rule from a seed, free of rights (CC0-1.0)."""

from audiogen.data.synthetic.writing import write_textures

__all__ = ["write_textures"]
