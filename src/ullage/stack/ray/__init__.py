"""The services of a stack as Ray Serve deployments, of the same apps that run locally. Needs the extra `ray`."""
