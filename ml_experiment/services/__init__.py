"""What a command does, over the layers below."""
