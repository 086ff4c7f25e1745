"""Questions about pictures: what is asked (tasks.py), what stands beside the model (beside.py), all figures."""
