"""The stages of a job, one module each; `workers.pipeline` puts them in order."""
