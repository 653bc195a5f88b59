"""The only door to Redis/Valkey: key names, Lua scripts, connections and the embedded server.

`call.py`      one thing to ask of the store, as data, with the reading of its answer
`connection.py` runs calls, blocking or async
`keys.py`      every key name
`announcements.py` what is said aloud when something changes
`tasks.py outputs.py instances.py services.py streams.py` the calls, by what they are about
`scripts/`     what has to happen at once, in Lua
`embedded.py`  the bundled server
"""
