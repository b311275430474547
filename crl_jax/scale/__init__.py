"""Devices, hosts and compiled programs.

`parallel.py` splits a program over the devices of a mesh, `hosts.py` joins several processes into one run.
`programs.py` and `compilation_cache.py` compile each program once. `machine.py` describes the machine of a measurement.
"""

from crl_jax.scale import compilation_cache, hosts, machine, parallel, programs

__all__ = ["compilation_cache", "hosts", "machine", "parallel", "programs"]
