"""`convolve` against SciPy sums in f64 under every rule, and what happens to the file."""

import shutil
import subprocess
import sys
import warnings

import numpy as np
import pytest
from astropy.convolution import convolve as astropy_convolve
from astropy.io import fits
from astropy.wcs import WCS

from assembly import taps
from binary import run
from compare import assert_plane, peak
from convolution import EDGE_RULES, FWHM_PER_SIGMA, NAN_RULES, convolve

#: Largest |difference| over the largest |value| of the result, where nothing is divided.
TOLERANCE = 5e-7


def write_fits(path, image, cards=None, dtype=np.float32):
    hdu = fits.PrimaryHDU(np.asarray(image, dtype=dtype))
    for key, value in (cards or {}).items():
        hdu.header[key] = value
    hdu.writeto(path)
    return path


def convolve_file(folder, image, *options, cards=None, dtype=np.float32, codes=(0,)):
    """Writes, runs, reads: (pixels in f64, header, run)."""
    source, target = folder / "in.fits", folder / "out.fits"
    for path in (source, target):
        path.unlink(missing_ok=True)
    write_fits(source, image, cards, dtype)
    done = run("convolve", source, "-o", target, *options, "--json", home=folder).expect(*codes)
    assert isinstance(done.json, dict)
    with fits.open(target) as hdus:
        return hdus[0].data.astype(np.float64), hdus[0].header.copy(), done


def options_of(sigma, radius, nan="zero", edge="zero"):
    return [f"--psf-sigma={sigma}", f"--psf-radius={radius}", f"--nan={nan}", f"--edge={edge}"]


def check(got, result, min_coverage=None, label="plane"):
    """A result divided by little coverage may err by as much more."""
    tolerance = TOLERANCE * peak(result.image) / np.clip(result.divisor, 1e-12, 1.0)
    undecided = None
    if min_coverage is not None:
        undecided = np.abs(result.coverage - min_coverage) < 2 * TOLERANCE
    assert_plane(got, result.image, tolerance, result.zeros, undecided, label)


def holes(rng, image, fraction=0.03):
    """NaN and infinite pixels, a NaN block, and a NaN border where there is room."""
    image[rng.random(image.shape) < fraction] = np.nan
    if image.size > 1:
        image.flat[rng.integers(image.size)] = np.inf
        image.flat[rng.integers(image.size)] = -np.inf
    if min(image.shape) > 40:
        image[10:25, 12:31] = np.nan
        image[:, :2] = np.nan
    return image


SHAPES = [
    # ny, nx, sigma, radius
    (1, 1, 0.5, 2),
    (1, 1, 60.0, 470),
    (1, 57, 3.0, 12),
    (43, 1, 2.0, 30),
    (2, 3, 5.0, 40),
    (31, 64, 1.0, 5),
    (64, 33, 4.0, 16),
    (97, 120, 12.0, 94),
    (130, 111, 20.0, 157),
    (150, 301, 60.0, 470),
    (260, 140, 40.0, 470),
    (90, 77, 200.0, 1570),
]


@pytest.mark.parametrize("edge", EDGE_RULES)
@pytest.mark.parametrize("nan", NAN_RULES)
def test_every_rule_equals_the_direct_sum(tmp_path, nan, edge):
    rng = np.random.default_rng(17)
    for ny, nx, sigma, radius in SHAPES:
        image = rng.normal(3.0, 1.0, size=(ny, nx))
        image.flat[rng.integers(image.size)] = 5000.0
        fraction = 0.001 if nan == "propagate" else 0.03
        image = holes(rng, image, fraction) if ny > 2 or nan != "propagate" else image
        stored = image.astype(np.float32)
        got, _, _ = convolve_file(tmp_path, stored, *options_of(sigma, radius, nan, edge))
        result = convolve(stored, sigma, radius, nan, edge)
        # A denominator near zero asks for nothing but the right NaN.
        minimum = 1e-3 if nan == "interpolate" else None
        check(got, result, minimum, f"{ny} x {nx}, sigma {sigma}, radius {radius}, {nan}, {edge}")


@pytest.mark.parametrize("edge", EDGE_RULES)
def test_random_images_without_holes(tmp_path, edge):
    rng = np.random.default_rng(23)
    for _ in range(6):
        ny, nx = (int(n) for n in rng.integers(1, 400, size=2))
        sigma = float(np.round(np.exp(rng.uniform(np.log(0.5), np.log(90.0))), 3))
        radius = int(min(1000, np.ceil(sigma * rng.uniform(3.0, 8.5))))
        stored = rng.normal(size=(ny, nx)).astype(np.float32)
        got, _, _ = convolve_file(tmp_path, stored, *options_of(sigma, radius, "zero", edge))
        check(got, convolve(stored, sigma, radius, "zero", edge), label=f"{ny} x {nx}, sigma {sigma}, radius {radius}")


@pytest.mark.parametrize(
    "shape,sigma,radius", [((1000, 1300), 60.0, 470), ((900, 700), 25.0, 200), ((1025, 800), 40.0, 160)]
)
def test_large_images_with_spikes(tmp_path, shape, sigma, radius):
    rng = np.random.default_rng(29)
    image = np.zeros(shape)
    image.flat[rng.integers(0, image.size, size=2000)] = rng.exponential(1e5, size=2000)
    stored = image.astype(np.float32)
    got, _, _ = convolve_file(tmp_path, stored, *options_of(sigma, radius))
    check(got, convolve(stored, sigma, radius))


@pytest.mark.parametrize("sigma,radius", [(60.0, 470), (12.0, 94), (2.0, 8), (30.0, 120)])
def test_a_delta_is_exactly_zero_beyond_the_radius(tmp_path, sigma, radius):
    image = np.zeros((2 * radius + 61, 2 * radius + 40))
    image[radius + 30, radius + 11] = 1e6
    got, _, _ = convolve_file(tmp_path, image, *options_of(sigma, radius))
    check(got, convolve(image, sigma, radius))
    assert (got[:30] == 0.0).all() and (got[:, :11] == 0.0).all()
    k = taps(sigma, radius)
    assert got[radius + 30, radius + 11] == pytest.approx(1e6 * k[radius] ** 2, rel=1e-6)


@pytest.mark.parametrize("edge", ["reflect", "nearest", "renormalize"])
@pytest.mark.parametrize("nan", NAN_RULES)
def test_a_constant_plane_stays_constant(tmp_path, nan, edge):
    for sigma, radius in [(60.0, 470), (3.0, 12)]:
        got, _, _ = convolve_file(tmp_path, np.full((120, 90), 7.25), *options_of(sigma, radius, nan, edge))
        assert np.abs(got - 7.25).max() <= TOLERANCE * 7.25


@pytest.mark.parametrize("nan", NAN_RULES)
def test_a_plane_of_missing_pixels_stays_missing(tmp_path, nan):
    for value in (np.nan, np.inf):
        got, _, _ = convolve_file(tmp_path, np.full((40, 50), value), *options_of(3.0, 12, nan, "renormalize"))
        assert np.isnan(got).all()


@pytest.mark.parametrize("edge", EDGE_RULES)
def test_the_coverage_file_holds_the_coverage(tmp_path, edge):
    rng = np.random.default_rng(31)
    image = holes(rng, rng.normal(size=(140, 170)), 0.2).astype(np.float32)
    for nan, (sigma, radius) in zip(NAN_RULES, [(60.0, 470), (6.0, 24), (20.0, 157)], strict=True):
        path = tmp_path / "coverage.fits"
        path.unlink(missing_ok=True)
        convolve_file(tmp_path, image, *options_of(sigma, radius, nan, edge), "--coverage", path)
        got = fits.getdata(path).astype(np.float64)
        assert_plane(got, convolve(image, sigma, radius, nan, edge).coverage, TOLERANCE, label=f"{nan}, {edge}")
        assert got.min() >= 0.0 and got.max() <= 1.0 + 1e-6


@pytest.mark.parametrize("edge", EDGE_RULES)
@pytest.mark.parametrize("minimum", [0.0, 0.02, 0.5, 0.95])
def test_pixels_below_the_least_coverage_are_missing(tmp_path, edge, minimum):
    rng = np.random.default_rng(37)
    image = rng.normal(10.0, 1.0, size=(120, 130))
    image[20:90, 30:100] = np.nan
    image = image.astype(np.float32)
    options = options_of(6.0, 24, "interpolate", edge)
    for preserve in (False, True):
        flag = ["--preserve-nan"] if preserve else []
        got, _, _ = convolve_file(tmp_path, image, *options, f"--min-coverage={minimum}", *flag)
        result = convolve(image, 6.0, 24, "interpolate", edge, minimum, preserve)
        if minimum == 0.0:
            # With hardly any coverage the quotient is noise: only the well covered is judged.
            judged = result.coverage > 1e-3
            got, result.image = np.where(judged, got, 0.0), np.where(judged, result.image, 0.0)
            result.zeros[:] = False
        check(got, result, minimum)


@pytest.mark.parametrize(
    "edge,boundary",
    [
        ("zero", {"boundary": "fill", "fill_value": 0.0}),
        ("nearest", {"boundary": "extend"}),
        ("renormalize", {"boundary": "fill", "fill_value": np.nan}),
    ],
)
def test_interpolation_equals_astropys(tmp_path, edge, boundary):
    rng = np.random.default_rng(41)
    image = rng.normal(5.0, 1.0, size=(61, 57)).astype(np.float32)
    image[20:26, 30:37] = np.nan
    k = taps(2.5, 8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        want = astropy_convolve(image, np.outer(k, k), nan_treatment="interpolate", **boundary)
    got, _, _ = convolve_file(tmp_path, image, *options_of(2.5, 8, "interpolate", edge))
    assert_plane(got, want, 4 * TOLERANCE * peak(want))


@pytest.mark.parametrize("dtype", [np.float64, np.int16, np.uint16, np.int32, np.uint8])
def test_every_pixel_type_is_read(tmp_path, dtype):
    image = np.random.default_rng(43).integers(0, 200, size=(60, 70)).astype(dtype)
    got, header, _ = convolve_file(tmp_path, image, *options_of(3.0, 12), dtype=dtype)
    assert header["BITPIX"] in (-32, -64)
    assert not {"BZERO", "BSCALE", "BLANK"} & set(header)
    check(got, convolve(image.astype(np.float64), 3.0, 12))


def test_scaling_and_blank_are_applied(tmp_path):
    stored = np.random.default_rng(47).integers(0, 200, size=(60, 70)).astype(np.int16)
    stored[5, 6] = -32768
    hdu = fits.PrimaryHDU(stored)
    hdu.header["BSCALE"], hdu.header["BZERO"], hdu.header["BLANK"] = 0.25, 100.0, -32768
    source, target = tmp_path / "in.fits", tmp_path / "out.fits"
    # astropy would drop the cards with the scaling: the bytes are written as they stand.
    hdu_bytes = hdu.header.tostring(sep="", endcard=True, padding=True).encode() + stored.astype(">i2").tobytes()
    source.write_bytes(hdu_bytes + bytes(-len(hdu_bytes) % 2880))
    with fits.open(source) as hdus:
        image = hdus[0].data.astype(np.float64)
    assert np.isnan(image[5, 6]) and image[0, 0] == 100.0 + 0.25 * stored[0, 0]
    run("convolve", source, "-o", target, *options_of(3.0, 12, "interpolate", "reflect"), home=tmp_path).expect(0)
    check(fits.getdata(target), convolve(image, 3.0, 12, "interpolate", "reflect"))


def test_fwhm_is_another_way_to_say_sigma(tmp_path):
    image = np.random.default_rng(53).normal(size=(90, 80)).astype(np.float32)
    got, _, _ = convolve_file(
        tmp_path, image, f"--fwhm-px={5.0 * FWHM_PER_SIGMA!r}", "--psf-radius=20", "--nan=zero", "--edge=zero"
    )
    check(got, convolve(image, 5.0, 20))


def test_threads_change_no_byte(tmp_path):
    image = holes(np.random.default_rng(59), np.random.default_rng(60).normal(size=(700, 650))).astype(np.float32)
    planes = []
    for threads in (1, 2):
        got, _, _ = convolve_file(tmp_path, image, *options_of(60.0, 470), f"--threads={threads}")
        planes.append(got.tobytes())
    assert planes[0] == planes[1]


@pytest.mark.parametrize(
    "options",
    [
        ["--psf-sigma=0"],
        ["--psf-sigma=-1"],
        ["--psf-sigma=nan"],
        ["--psf-sigma=inf"],
        ["--psf-sigma=3", "--psf-radius=-1"],
        ["--psf-sigma=3", "--fwhm-px=7"],
        ["--psf-sigma=3", "--nan=guess"],
        ["--psf-sigma=3", "--edge=guess"],
        ["--psf-sigma=3", "--min-coverage=nan"],
    ],
)
def test_impossible_options_are_refused(tmp_path, options):
    source = write_fits(tmp_path / "in.fits", np.ones((20, 20)))
    run("convolve", source, "-o", tmp_path / "out.fits", *options, home=tmp_path).expect(2)
    assert not (tmp_path / "out.fits").exists()


def test_a_file_that_is_no_image_is_refused(tmp_path):
    (tmp_path / "text.fits").write_text("no image")
    sound = write_fits(tmp_path / "in.fits", np.ones((200, 200)))
    (tmp_path / "cut.fits").write_bytes(sound.read_bytes()[:30000])
    for name in ("text.fits", "cut.fits", "absent.fits"):
        run("convolve", tmp_path / name, "-o", tmp_path / "out.fits", "--psf-sigma=3", home=tmp_path).expect(2)
        assert not (tmp_path / "out.fits").exists()


# --- the file ---------------------------------------------------------------------------

SCALE_DEG = 0.5 / 3600.0
SKY_CARDS = {
    "CTYPE1": "RA---SIN",
    "CTYPE2": "DEC--SIN",
    "CRVAL1": 187.25,
    "CRVAL2": -33.5,
    "CRPIX1": 31.5,
    "CRPIX2": 40.0,
    "CDELT1": -SCALE_DEG,
    "CDELT2": SCALE_DEG,
    "CUNIT1": "deg",
    "CUNIT2": "deg",
    "RADESYS": "FK5",
    "EQUINOX": 2000.0,
}
KEPT_CARDS = {
    "OBJECT": "O'Brien / field 7",
    "OBSERVER": "a name so long that it does not fit a single card of eighty characters and goes on in the next",
    "DATE-OBS": "2012-11-17T03:20:30.5",
    "HIERARCH FPA.ZP": 25.0,
    "EXPTIME": 602.0,
    "SATURATE": 1149802,
    "FLAGGED": True,
}


def beam(major_arcsec, minor_arcsec, angle_deg):
    return {"BMAJ": major_arcsec / 3600.0, "BMIN": minor_arcsec / 3600.0, "BPA": angle_deg}


@pytest.mark.parametrize("unit", ["Jy/beam", "JY/BEAM", "Jy beam-1", "mJy/beam"])
@pytest.mark.parametrize("keep", [False, True])
def test_the_beam_grows_and_jy_per_beam_follows(tmp_path, unit, keep):
    image = np.random.default_rng(61).normal(1.0, 0.2, size=(80, 70)).astype(np.float32)
    cards = SKY_CARDS | beam(6.0, 4.0, 30.0) | {"BUNIT": unit}
    sigma, radius = 3.0, 18
    flag = ["--jy-per-beam=keep"] if keep else []
    got, header, _ = convolve_file(tmp_path, image, *options_of(sigma, radius), *flag, cards=cards)
    fwhm = sigma * FWHM_PER_SIGMA * SCALE_DEG
    major, minor = np.hypot(cards["BMAJ"], fwhm), np.hypot(cards["BMIN"], fwhm)
    assert header["BMAJ"] == pytest.approx(major, rel=1e-9)
    assert header["BMIN"] == pytest.approx(minor, rel=1e-9)
    assert header["BPA"] == pytest.approx(30.0, abs=1e-6)
    assert header["BUNIT"].replace(" ", "").lower() == unit.replace(" ", "").lower()
    factor = 1.0 if keep else major * minor / (cards["BMAJ"] * cards["BMIN"])
    result = convolve(image, sigma, radius)
    result.image *= factor
    check(got, result)


@pytest.mark.parametrize("unit", ["Jy/pixel", "K", "count"])
def test_other_units_are_not_rescaled(tmp_path, unit):
    image = np.random.default_rng(67).normal(1.0, 0.2, size=(80, 70)).astype(np.float32)
    cards = SKY_CARDS | beam(6.0, 4.0, -15.0) | {"BUNIT": unit}
    got, header, _ = convolve_file(tmp_path, image, *options_of(3.0, 18), cards=cards)
    assert header["BUNIT"].strip() == unit
    assert header["BMAJ"] == pytest.approx(np.hypot(6.0 / 3600.0, 3.0 * FWHM_PER_SIGMA * SCALE_DEG), rel=1e-9)
    check(got, convolve(image, 3.0, 18))


def test_jy_per_beam_without_a_beam_is_kept_with_a_warning(tmp_path):
    image = np.random.default_rng(71).normal(1.0, 0.2, size=(80, 70)).astype(np.float32)
    got, header, done = convolve_file(tmp_path, image, *options_of(3.0, 18), cards=SKY_CARDS | {"BUNIT": "Jy/beam"})
    assert header["BUNIT"] == "Jy/beam" and "BMAJ" not in header
    assert "warning" in done.stderr.lower() and "beam" in done.stderr.lower()
    check(got, convolve(image, 3.0, 18))


def judge_file(path):
    """astropy's fitscheck, and fitsverify where it is installed."""
    fitscheck = "import sys; from astropy.io.fits.scripts.fitscheck import main; sys.exit(main(sys.argv[1:]))"
    done = subprocess.run([sys.executable, "-c", fitscheck, str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "MISSING" not in done.stdout + done.stderr, "no checksum"
    if shutil.which("fitsverify"):
        done = subprocess.run(["fitsverify", "-e", str(path)], capture_output=True, text=True, check=False)
        assert done.returncode == 0 and "found 0 warning(s) and 0 error(s)" in done.stdout, done.stdout + done.stderr


def test_the_judges_of_files_find_a_flipped_byte(tmp_path):
    path = tmp_path / "a.fits"
    fits.PrimaryHDU(np.ones((50, 50), np.float32)).writeto(path, checksum=True)
    judge_file(path)
    data = bytearray(path.read_bytes())
    data[2880 + 100] ^= 1
    path.write_bytes(data)
    with pytest.raises(AssertionError):
        judge_file(path)


@pytest.mark.parametrize("nan", NAN_RULES)
def test_output_files_are_sound_and_keep_the_cards(tmp_path, nan):
    rng = np.random.default_rng(73)
    image = holes(rng, rng.normal(size=(80, 70))).astype(np.float32)
    hdu = fits.PrimaryHDU(image)
    for key, value in (SKY_CARDS | beam(6.0, 4.0, 30.0) | KEPT_CARDS | {"BUNIT": "Jy/beam"}).items():
        hdu.header[key] = value
    hdu.header["COMMENT"] = "a comment to keep"
    hdu.header["HISTORY"] = "a step to keep"
    source, target, coverage = (tmp_path / n for n in ("in.fits", "out.fits", "coverage.fits"))
    hdu.writeto(source)
    run(
        "convolve",
        source,
        "-o",
        target,
        *options_of(3.0, 12, nan, "renormalize"),
        "--coverage",
        coverage,
        home=tmp_path,
    ).expect(0)

    for path in (target, coverage):
        judge_file(path)
        with fits.open(path) as hdus:
            hdus.verify("exception")
            assert hdus[0].data.shape == image.shape
            assert "CHECKSUM" in hdus[0].header and "DATASUM" in hdus[0].header
            pixels = rng.uniform(0, 70, size=(20, 2))
            want = WCS(hdu.header).wcs_pix2world(pixels, 0)
            np.testing.assert_allclose(WCS(hdus[0].header).wcs_pix2world(pixels, 0), want, atol=1e-11)

    header = fits.getheader(target)
    for key, value in KEPT_CARDS.items():
        key = key.removeprefix("HIERARCH ")
        assert header[key] == value, key
    assert "a comment to keep" in str(header["COMMENT"])
    history = str(header["HISTORY"])
    assert "a step to keep" in history
    assert "skycache-gpu" in history and "in.fits" in history


def test_no_output_is_left_when_it_cannot_be_written(tmp_path):
    source = write_fits(tmp_path / "in.fits", np.ones((20, 20)))
    target = tmp_path / "absent" / "deeper" / "out.fits"
    done = run("convolve", source, "-o", target, "--psf-sigma=3", home=tmp_path)
    assert done.code == 2 or (done.code == 0 and target.is_file())
    assert not [p for p in tmp_path.iterdir() if p.suffix not in (".fits", "") and p.is_file()]
