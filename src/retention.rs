//! What may go and what stays, with a reason for each verdict. Pure: the clock is an argument.
