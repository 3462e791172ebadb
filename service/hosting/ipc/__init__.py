"""Between the API process and the engine process: client, messages, socket, tensor results."""
