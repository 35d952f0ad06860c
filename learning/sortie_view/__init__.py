"""What people see of a run: live, replayed and on paper; imports no ROS."""
