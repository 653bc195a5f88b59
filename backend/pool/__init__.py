"""The pool: launchers that start and stop instances, and the supervisor that decides and acts."""
