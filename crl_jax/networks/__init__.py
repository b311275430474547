"""Flax networks: phi(s, a), psi(g) and the actor in `residual.py`, the actor's tanh-Gaussian in `distributions.py`."""

from crl_jax.networks.residual import Actor, Encoder, ResidualMLP

__all__ = ["Actor", "Encoder", "ResidualMLP"]
