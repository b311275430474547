"""Which packages a wheel holds; everything else is in pyproject.toml.

`configs/` is a folder of the repository, and `crl_jax.configs` where the project is installed. `experiments/` and
`benchmarks/` are part of a checkout only.
"""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["crl_jax*", "envs_mjx*"]), "crl_jax.configs"],
    package_dir={"crl_jax.configs": "configs"},
    package_data={"crl_jax.play": ["policies/*.npz"]},
)
