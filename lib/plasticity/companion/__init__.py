"""The companion: data, profiles, results, claims, notebooks and the command line."""
