"""What the filter costs inside nginx, beside nginx without it and nginx with ModSecurity."""
