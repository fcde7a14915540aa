"""What holds for all tests."""

from hypothesis import HealthCheck, settings

# A slow machine is no failure: how long examples take to make and to try is not what is tested.
settings.register_profile("rexecd", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("rexecd")
