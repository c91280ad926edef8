"""Contents of any size between members: named by their hash, cut into chunks, fetched from several peers at once.

A **content** is a run of bytes cut into chunks of one size; its **manifest** lists the hashes of the chunks, and the
hash of the manifest is the content's name. So whoever knows a name can check the manifest, and with it each chunk as it
comes, whoever sends it: a liar is told from an honest peer by the first chunk. Equal chunks are kept and sent once.

Pure: `manifest` (names and cutting), `messages` (what is said on a stream of `/bizra/content/1`), `download` (which
chunk to ask of whom, and whom to ask no more), `bandwidth` (who may send next under a cap). Shells: `store`, the chunks
on disk under a bound; `compression`, zstd where it helps; `service`, streams to and from other nodes.

What has arrived is on disk under its hash, so a fetch that was cut off goes on where it was. Any member that knows a
content's name may fetch it; names are not listed to others.
"""
