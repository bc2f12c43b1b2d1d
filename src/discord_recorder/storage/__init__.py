"""What is kept: SQL tables and queries, migrations, files."""
