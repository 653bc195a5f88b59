"""An instance and what it runs: the agent, command tasks, their process groups, their output."""
