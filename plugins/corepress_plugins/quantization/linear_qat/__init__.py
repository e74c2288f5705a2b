"""Linear quantization that is simulated while the model trains, of weights and of activations."""
