"""From a policy's command to a drone's motors: the safety gate, the phases of a flight, and what speaks to vehicles."""
