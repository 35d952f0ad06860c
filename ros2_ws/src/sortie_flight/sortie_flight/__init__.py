"""What stands between a policy's command and a drone's motors."""
