"""What a user can set: settings of the installation, recipes, and the YAML and JSON files of profiles, prompts and models.

Here: how these are declared, found and checked. Not here: what they are used for; nothing in here reads or writes the warehouse.
"""
