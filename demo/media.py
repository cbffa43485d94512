"""Media made by real encoders: a video with sound, photos with EXIF, a sound recording.

They show one scene, hills under a rising sun; the same seed gives the same scene. So the tour has files of realistic
kinds, sizes and compressibility without a download.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageChops, ImageDraw
from PIL.TiffImagePlugin import IFDRational

FRAMES_PER_SECOND = 25
SAMPLES_PER_SECOND = 48_000
SAMPLES_PER_FRAME = 1_024
DAWN = datetime(2024, 6, 21, 4, 30, tzinfo=UTC)

Samples = NDArray[np.float32]


@dataclass(frozen=True)
class Shoot:
    """The amount to make: a day's footage, or a handful of files for a test."""

    photos: int = 16
    photo_size: tuple[int, int] = (3000, 2000)
    video_seconds: int = 6
    video_size: tuple[int, int] = (1280, 720)
    sound_seconds: int = 60


def make_media(folder: Path, shoot: Shoot, seed: int) -> None:
    """Fill the new `folder` with photos/, video/ and sound/."""
    for name in ("photos", "video", "sound"):
        (folder / name).mkdir(parents=True)
    photographs = Scene(*shoot.photo_size, seed)
    for number in range(shoot.photos):
        hour = number / max(1, shoot.photos - 1)
        taken = DAWN + timedelta(minutes=7 * number)
        write_photo(folder / "photos" / f"IMG_{number + 1:04}.jpg", photographs.at(hour, walked=number * 40), taken)
    write_video(folder / "video" / "sunrise.mp4", Scene(*shoot.video_size, seed), shoot.video_seconds, seed)
    write_sound(folder / "sound" / "dawn chorus.flac", shoot.sound_seconds, seed)


class Scene:
    """Three ranges of hills under a sky, with sensor noise, so that frames compress like real ones."""

    def __init__(self, width: int, height: int, seed: int) -> None:
        self.size = (width, height)
        random = np.random.default_rng(seed)
        self._waves = random.uniform(
            [2, 0.02, 0], [18, 0.04, 6.3], size=(3, 4, 3)
        )  # of each range: cycles, height, phase
        grain = np.clip(random.normal(128, 7, size=(height, width)), 0, 255).astype(np.uint8)
        self._grain = Image.merge("RGB", [Image.fromarray(grain)] * 3)

    def at(self, hour: float, walked: int = 0) -> Image.Image:
        """The scene from 0 (first light) to 1 (day), seen from `walked` pixels further on."""
        width, height = self.size
        light = 0.4 + 0.6 * hour
        sky, glow = (40 * light, 80 * light, 150 * light), (250 * light, (170 + 50 * hour) * light, 110 + 90 * hour)
        gradient = np.linspace(sky, glow, height).astype(np.uint8)[:, None, :]
        picture = Image.fromarray(gradient).resize(self.size, Image.Resampling.NEAREST)
        draw = ImageDraw.Draw(picture)
        draw.circle((width * (0.3 + 0.4 * hour), height * (0.7 - 0.5 * hour)), height / 16, fill=(255, 240, 200))
        across = np.arange(0, width + 8, 8)
        for distance, waves in enumerate(self._waves):
            cycles, tall, phase = waves.T[..., None]
            swell = tall * np.sin(cycles * (across + walked * (distance + 1)) / width + phase)
            ridge = height * (0.5 + 0.15 * distance + swell.sum(axis=0))
            outline = [(0, height), *zip(across.tolist(), ridge.tolist(), strict=True), (width, height)]
            shade = light * (1 - 0.25 * distance)
            draw.polygon(outline, fill=(int(70 * shade), int(90 * shade), int(80 * shade)))
        grain = ImageChops.offset(self._grain, walked * 31, walked * 17)
        return ImageChops.add(picture, grain, offset=-128)


def write_photo(path: Path, picture: Image.Image, taken: datetime) -> None:
    """Write a JPEG with the EXIF of a camera, a moment and a place."""
    exif = Image.Exif()
    exif[ExifTags.Base.Make] = "mgmt"
    exif[ExifTags.Base.Model] = "Tour 1"
    exif[ExifTags.Base.DateTime] = taken.strftime("%Y:%m:%d %H:%M:%S")
    details = exif.get_ifd(ExifTags.IFD.Exif)
    details[ExifTags.Base.DateTimeOriginal] = taken.strftime("%Y:%m:%d %H:%M:%S")
    details[ExifTags.Base.ExposureTime] = IFDRational(1, 250)
    place = exif.get_ifd(ExifTags.IFD.GPSInfo)
    place[ExifTags.GPS.GPSLatitudeRef], place[ExifTags.GPS.GPSLatitude] = "N", (46.0, 33.0, 30.0)
    place[ExifTags.GPS.GPSLongitudeRef], place[ExifTags.GPS.GPSLongitude] = "E", (7.0, 58.0, 12.0)
    picture.save(path, "JPEG", quality=92, exif=exif)


def write_video(path: Path, scene: Scene, seconds: int, seed: int) -> None:
    """Write an MP4 of the sun rising over the scene: H.264 with AAC sound."""
    frames = seconds * FRAMES_PER_SECOND
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=FRAMES_PER_SECOND, options={"preset": "ultrafast", "crf": "24"})
        video.width, video.height = scene.size
        video.pix_fmt = "yuv420p"
        sound = container.add_stream("aac", rate=SAMPLES_PER_SECOND, layout="stereo", format="fltp")
        for number in range(frames):
            picture = scene.at(number / frames, walked=number * 2)
            container.mux(video.encode(av.VideoFrame.from_ndarray(np.asarray(picture), format="rgb24")))
        container.mux(video.encode())
        _encode_sound(container, sound, birdsong(seconds, seed))


def write_sound(path: Path, seconds: int, seed: int) -> None:
    """Write a lossless FLAC of `seconds` of birdsong."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("flac", rate=SAMPLES_PER_SECOND, layout="stereo", format="s16")
        _encode_sound(container, stream, birdsong(seconds, seed))


def birdsong(seconds: int, seed: int) -> Samples:
    """Chirps that sweep up and down over the hiss of wind: 2 x samples, from -1 to 1."""
    random = np.random.default_rng(seed)
    length = seconds * SAMPLES_PER_SECOND
    sound = random.normal(0, 0.01, size=(2, length)).astype(np.float32)
    for _ in range(seconds * 4):
        samples = int(random.uniform(0.05, 0.25) * SAMPLES_PER_SECOND)
        start = int(random.uniform(0, length - samples))
        pitch = np.linspace(random.uniform(1_500, 5_000), random.uniform(1_500, 5_000), samples)
        chirp = 0.2 * np.sin(2 * np.pi * np.cumsum(pitch) / SAMPLES_PER_SECOND) * np.hanning(samples)
        sound[:, start : start + samples] += random.uniform(0.2, 1, size=(2, 1)) * chirp
    return np.clip(sound, -1, 1).astype(np.float32)


def _encode_sound(container: av.container.OutputContainer, stream: av.AudioStream, samples: Samples) -> None:
    for start in range(0, samples.shape[1], SAMPLES_PER_FRAME):
        piece: NDArray[Any] = np.ascontiguousarray(samples[:, start : start + SAMPLES_PER_FRAME])
        if stream.format.name == "s16":
            piece = (piece * 32_767).astype(np.int16).T.reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(piece, format=stream.format.name, layout="stereo")
        frame.sample_rate = SAMPLES_PER_SECOND
        frame.pts = start
        container.mux(stream.encode(frame))
    container.mux(stream.encode())
