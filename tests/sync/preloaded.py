"""What a worker needs, imported once in the process that all workers are forked from."""

import hokusai_backend_mlflow.client
import hokusai_backend_mlflow.plugin
import hokusai_backend_mlflow.stores  # noqa: F401
import hokusai_backend_sql.plugin
import hokusai_backend_sql.postgresql  # noqa: F401
import tests.sync.worker_process  # noqa: F401
