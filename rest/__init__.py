"""The REST side: thin routes over services and repositories. Decides form and permission, nothing else."""
