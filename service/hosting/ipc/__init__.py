"""Communication between the API process and the engine process: client, messages, codec, socket, tensor results."""
