"""From text to nodes, inside: lexer, parse table, and the actions of the grammar."""
