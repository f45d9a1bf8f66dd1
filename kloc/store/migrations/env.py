"""Alembic's entry point: runs on the connection that ``Store.migrate`` hands over."""

from alembic import context

from kloc.store.tables import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    render_as_batch=True,  # SQLite cannot ALTER much
)
with context.begin_transaction():
    context.run_migrations()
