"""The answers that models give, and what each of them says: what the answer parser is measured against."""
