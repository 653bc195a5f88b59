"""The built-in inference app: text to image and image to image on the instances of a service.

A query comes by HTTP, is read (`request`), its names looked up in the data folder (`catalog`), waits for its turn
(`batching`), is drawn step by step together with others that fit (`engine`, `drawing`), and answered (`server`).

    request.py      the JSON of a query, typed and checked                                    no torch
    catalog.py      models and LoRAs of the data folder, by name                              no torch
    batching.py     which waiting queries are drawn next, and together                        pure
    pictures.py     PNG with the generation parameters in it
    schedulers.py   schedulers by name
    lora_names.py   which module of a model a LoRA's key means                                pure
    lora_deltas.py  the change of a weight that a LoRA, LoCon, LoHa or LoKr stands for
    model.py        a loaded base model, with LoRAs merged into it and taken out again
    cache.py        what is kept in memory, least recently used out
    drawing.py      one query while it is drawn: Stable Diffusion step by step, other pipelines whole
    memory.py       how much memory there is, and how much a picture takes
    container_memory.py  what a container may take of it
    shelf.py        models and LoRAs in the device's memory
    ticket.py       one query on its way
    engine.py       the thread that has the device
    server.py       the HTTP face
    progress_line.py  how it tells how far a query is
    grid.py         pictures of a checkpoint grid on one sheet
"""
