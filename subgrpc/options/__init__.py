"""Generated field options that hold validation rules."""
