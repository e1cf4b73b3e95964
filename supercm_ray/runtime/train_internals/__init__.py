"""The parts of Ray that are no public interface, one override a file. Nothing else in the package uses such names.

Each file says which private names it relies on, for which versions of Ray, and why no public way does.
`tests/runtime/test_ray_internals.py` guards all of them; `make test-ray RAY=2.56.1` tries them with another version.
Import these modules only after `check_ray_version`, and inside functions: an unsupported Ray may lack the names.

All of it is sent to Ray's processes by value, so these start without importing the package. How the parts of a run
hang together: the channel (`runtime/channel.py`) belongs to the process that consumes the run's messages and ends
with it. The controller is detached, so that it outlives a consumer killed by -9; it notices the end of the channel,
stops the workers, removes their placement group, and ends. Ray itself would keep the placement group until the end
of the job.
"""
