"""What every node shares: parameters, quality of service, messages, running, ending."""
