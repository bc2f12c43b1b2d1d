"""Run the migrations on the connection, and in the transaction, that `Database.open` hands over."""

from alembic import context

from discord_recorder.storage.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,
    transactional_ddl=False,  # the caller's transaction holds every step
)
context.run_migrations()
