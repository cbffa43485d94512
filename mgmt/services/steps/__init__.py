"""What the verbs share. A step imports no verb."""
