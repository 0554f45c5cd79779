"""An explanation of what a model says about a recording, as a page and a folder of files.

Each method is a module of this package with one function, ``explain(work) -> Finding``: it asks its namesake in
`audiocnn.explain` for arrays and makes of them a section of the page and files. `audiocnn.stages.explain` calls the
methods asked for and hands the findings to `page`. To add a method: write the module, name it in the stage's METHODS.
"""
