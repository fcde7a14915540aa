"""Every ceiling that is not a setting, with the attack or the mistake it answers.

Sizes are bytes, durations seconds, unless a name says otherwise.
"""

from rexecd.typed import Final

#: Largest frame accepted before the peer has authenticated. A stranger may make us
#: hold this much memory per connection, so it is small.
MAX_FRAME_UNAUTHENTICATED: Final = 4 * 1024

#: Most bytes in one data frame: large enough that framing costs nothing, small enough
#: that a signal never waits long behind it.
MAX_DATA: Final = 64 * 1024

#: Largest frame afterwards: one kind byte and a full data frame.
MAX_FRAME: Final = MAX_DATA + 1

#: Longest caller's line. `shlex` takes quadratic time, so the line is refused before it
#: is split (ATTACKS POL-09).
MAX_LINE: Final = 16 * 1024

#: Most words in a line (ATTACKS PRT-16).
MAX_WORDS: Final = 1024

#: Longest token accepted for comparison; ours have 62 characters.
MAX_TOKEN: Final = 256

#: Longest client certificate (DER); ours have 500 bytes.
MAX_CERTIFICATE: Final = 16 * 1024

#: Longest note an operator writes of a token, in characters.
MAX_NOTE: Final = 200

#: Most networks a token is good from, and most names of commands it is good for.
MAX_TERMS: Final = 64

#: Longest reason a caller gives for a command; each is kept in the trail.
MAX_JUSTIFICATION: Final = 512

#: Longest name of a principal, command, parameter or connection.
MAX_NAME: Final = 64

#: Longest text for people in a message: refusals, summaries, the banner.
MAX_TEXT: Final = 4 * 1024

#: Most parameters of a command.
MAX_PARAMETERS: Final = 64

#: Most lines of one entry of a listing: a parameter each, the input, the reason.
MAX_ENTRY_LINES: Final = MAX_PARAMETERS + 2

#: Longest JSON Schema in one entry of a listing: the largest entry still fits a packet.
MAX_SCHEMA: Final = 16 * 1024

#: Largest message between the two processes; a kernel packet has to hold it.
MAX_PACKET: Final = 64 * 1024

#: Most descriptors passed with one message: stdin, stdout, stderr.
MAX_DESCRIPTORS: Final = 3

#: What a pipe may hold that was found full; the kernel's own is 64 KiB. A user without privileges has 64 MiB
#: for all pipes together, and gets small ones beyond that.
WIDE_PIPE: Final = 256 * 1024

#: Largest configuration file; a larger one is a mistake or an attack (ATTACKS CFG-07).
MAX_CONFIG: Final = 1024 * 1024

#: Deepest nesting in a configuration file (ATTACKS CFG-05).
MAX_DEPTH: Final = 16

#: Longest caller's text kept in one field of an audit record, in characters; longer
#: ones are cut and their length and digest kept (ATTACKS AUD-05).
MAX_RECORDED_TEXT: Final = 1024

#: Most arguments kept in one audit record.
MAX_RECORDED_ARGUMENTS: Final = 64

#: Longest line of the trail.
MAX_RECORD: Final = 16 * 1024

#: Most bytes that number and seal add to a record.
SEALING: Final = 128

#: Most records before the first one that a verifier is given: the key has to be stepped over each,
#: a million a second or so, and a forged number must not keep it for ever.
MAX_SKIPPED_RECORDS: Final = 200_000_000

#: Most names that are looked up to resolve all paths of one request: links can be made to
#: lead through thousands. A thousand ordinary paths have fewer.
MAX_PATH_NAMES: Final = 20_000

#: Longest value a pattern is matched against, and most positions a pattern may have:
#: matching takes time in the product of both.
MAX_PATTERN_VALUE: Final = 1024
MAX_PATTERN_POSITIONS: Final = 512
