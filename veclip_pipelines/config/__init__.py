"""What a user can set: settings of the installation, recipes, and the YAML and JSON files of profiles, prompts and models.

Here: how these are declared, found and checked. Not here: what is done by them; nothing in here reads or writes the warehouse.
"""
