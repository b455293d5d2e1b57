"""Start, place, watch and restart the services of one machine: a process each."""
