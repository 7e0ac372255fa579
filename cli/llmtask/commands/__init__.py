"""One module per noun: parse, call one function, show."""
