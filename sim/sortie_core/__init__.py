"""The rules that worlds, policies, references and nodes share."""
