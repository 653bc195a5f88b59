"""What kohya_ss and sd-scripts users expect: the form, its files, its commands."""
