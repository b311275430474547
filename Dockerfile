# docker build -t crl_jax .                                    for a CPU
# docker build -t crl_jax --build-arg ACCELERATOR=cuda13 .     for NVIDIA GPUs; then docker run --gpus all ...
# docker run --rm -v "$PWD/runs:/crl_jax/runs" crl_jax train reach --preset reach_cpu
FROM python:3.11-slim
ARG ACCELERATOR=cpu

# OSMesa draws films without a GPU; git names the commit of benchmarks; make runs the install.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends git libosmesa6 make \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /crl_jax
COPY . .
RUN make install ACCELERATOR=${ACCELERATOR}

ENV PATH="/crl_jax/.venv/bin:${PATH}"
ENTRYPOINT ["crl"]
CMD ["--help"]
