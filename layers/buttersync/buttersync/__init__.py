"""What every function of buttersync shares; it imports no vendor's SDK and no function."""
