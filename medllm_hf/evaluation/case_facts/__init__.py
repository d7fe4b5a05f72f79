"""The verb `eval cases`: cases → their facts and checklists, in a file that a physician reads and edits."""
