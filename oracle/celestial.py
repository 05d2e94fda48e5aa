"""Pixels and sky of celestial WCS headers, by astropy.wcs (wcslib), as cases for tests/wcs.rs.

    target/oracle-venv/bin/python oracle/celestial.py FOLDER cases.json
    SKYCACHE_WCS_CASES=cases.json cargo test --test wcs

makes cases of every image header below a folder of FITS files. `freeze.py` writes the generated ones.
"""

import json
import sys
import warnings
from pathlib import Path

import numpy as np
from astropy import units
from astropy.coordinates import FK4, FK5, ICRS, FK4NoETerms, Galactic, SkyCoord
from astropy.io import fits
from astropy.time import Time
from astropy.wcs import WCS, utils

# Keywords that a WCS may have, by their beginning.
PREFIXES = (
    "CTYPE CRPIX CRVAL CDELT CUNIT CROTA CD PC PV LONPOLE LATPOLE RADESYS RADECSYS EQUINOX EPOCH A_ B_ AP_ BP_ NAXIS WCSAXES"
    " PLT AMD PPO CNPIX XPIXELSZ YPIXELSZ"
).split()

TAN = {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRPIX1": 512.5, "CRPIX2": 480.0, "CRVAL1": 150.1, "CRVAL2": 2.2}
STEPS = {"CDELT1": -0.001, "CDELT2": 0.001}
CD = {"CD1_1": -9.1e-4, "CD1_2": 3.2e-4, "CD2_1": 2.7e-4, "CD2_2": 8.8e-4}


def header(cards):
    out = fits.Header()
    for key, value in cards.items():
        out[key] = value
    return out


def projected(code, wide=False, **cards):
    """A header of a projection: a degree wide, or all that 1000 pixels of 0.2 degrees reach."""
    steps = {"CDELT1": -0.2, "CDELT2": 0.2} if wide else STEPS
    return TAN | steps | {"CTYPE1": f"RA---{code}", "CTYPE2": f"DEC--{code}"} | cards


def sip(order, scale):
    rng = np.random.default_rng(order)
    out = {"CTYPE1": "RA---TAN-SIP", "CTYPE2": "DEC--TAN-SIP", "A_ORDER": order, "B_ORDER": order}
    for name in "AB":
        for p in range(order + 1):
            for q in range(order + 1 - p):
                if p + q >= 2:
                    out[f"{name}_{p}_{q}"] = float(rng.normal() * scale * 700.0 ** -(p + q))
    return out


def tpv(degree):
    rng = np.random.default_rng(degree)
    last = {3: 10, 7: 39}[degree]
    out = {"CTYPE1": "RA---TPV", "CTYPE2": "DEC--TPV"}
    for axis in (1, 2):
        out |= {f"PV{axis}_{m}": float(rng.normal() * 2e-3) for m in range(last + 1)}
        out[f"PV{axis}_1"] = 1.0 + 1e-3 * axis
    return out


def dss():
    """A plate solution like those of the Digitized Sky Survey, beside a TAN that is nearly the same."""
    rng = np.random.default_rng(6)
    out = {"CNPIX1": 11500, "CNPIX2": 11000, "XPIXELSZ": 15.03, "YPIXELSZ": 15.0, "PPO3": 177500.0, "PPO6": 177500.0}
    out |= {"PLTRAH": 5, "PLTRAM": 42, "PLTRAS": 23.86, "PLTDECSN": "-", "PLTDECD": 4, "PLTDECM": 56, "PLTDECS": 47.9}
    for axis, off in (("X", -292.4), ("Y", 316.0)):
        terms = [67.16, 0.045, off, *rng.normal(size=4) * 2e-5, *rng.normal(size=6) * 2e-7]
        out |= {f"AMD{axis}{m + 1}": float(term) for m, term in enumerate(terms)}
        out |= {f"AMD{axis}{m}": 0.0 for m in range(14, 21)}
    return out


def generated():
    """Names and cards of made-up headers: each projection, each spelling, each odd corner."""
    cases = {
        "tan": TAN | STEPS,
        "tan_cd_skewed": TAN | CD,
        "tan_pc_skewed": TAN | STEPS | {"PC1_1": 0.9, "PC1_2": -0.35, "PC2_1": 0.41, "PC2_2": 0.93},
        "tan_old_pc": TAN | STEPS | {"PC001001": -1.0, "PC001002": 0.1, "PC002001": -0.2, "PC002002": 1.0},
        "tan_crota": TAN | {"CDELT1": -0.001, "CDELT2": 0.0013, "CROTA2": 37.0},
        "tan_pc_without_cdelt": TAN | {"PC1_1": -0.001, "PC2_2": 0.001},
        "tan_cd_partial": TAN | {"CD1_1": -0.001, "CD2_2": 0.001, "CD2_1": 1e-4, "CDELT1": 7.0, "CDELT2": 9.0},
        "tan_lonpole": TAN | STEPS | {"LONPOLE": 33.0, "LATPOLE": -10.0},
        "tan_lonpole_by_pv": TAN | STEPS | {"PV1_3": 170.0, "PV1_4": 20.0},
        "tan_north_pole": TAN | STEPS | {"CRVAL2": 90.0},
        "tan_south_pole": TAN | STEPS | {"CRVAL2": -90.0, "CRVAL1": 300.0},
        "tan_near_the_pole": TAN | CD | {"CRVAL2": 89.9},
        "tan_ra_wrap": TAN | STEPS | {"CRVAL1": 359.99},
        "tan_ra_negative": TAN | STEPS | {"CRVAL1": -0.01, "CRVAL2": -45.0},
        "tan_far_reference": TAN | STEPS | {"CRPIX1": -22955.0, "CRPIX2": 30411.0, "CRVAL2": 35.0},
        "tan_lat_first": {
            "CTYPE1": "DEC--TAN", "CTYPE2": "RA---TAN", "CRPIX1": 100.0, "CRPIX2": 200.0, "CRVAL1": -33.0, "CRVAL2": 80.0,
            "CDELT1": 0.001, "CDELT2": -0.0012, "PC1_2": 0.3, "PC2_1": -0.25,
        },
        "tan_lat_first_crota": {
            "CTYPE1": "DEC--TAN", "CTYPE2": "RA---TAN", "CRPIX1": 100.0, "CRPIX2": 200.0, "CRVAL1": -33.0, "CRVAL2": 80.0,
            "CDELT1": 0.001, "CDELT2": -0.0012, "CROTA1": 25.0,
        },
        "tan_arcmin": TAN | {"CRVAL1": 9006.0, "CRVAL2": 132.0, "CDELT1": -0.06, "CDELT2": 0.06, "CUNIT1": "arcmin", "CUNIT2": "arcmin"},
        "tan_arcsec": TAN | {"CRVAL1": 540360.0, "CRVAL2": 7920.0, "CDELT1": -3.6, "CDELT2": 3.6, "CUNIT1": "arcsec", "CUNIT2": "arcsec"},
        "tan_rad": TAN | {"CRVAL1": 2.6, "CRVAL2": 0.04, "CDELT1": -2e-5, "CDELT2": 2e-5, "CUNIT1": "rad", "CUNIT2": "rad"},
        "sin_cube": projected("SIN") | {"CTYPE3": "FREQ", "CRVAL3": 1.4e9, "CDELT3": 1e6, "CRPIX3": 1.0, "CTYPE4": "STOKES", "CRVAL4": 1.0, "CDELT4": 1.0, "CRPIX4": 1.0, "NAXIS": 4},
        "sin_wide": projected("SIN", CDELT1=-0.08, CDELT2=0.08, CRVAL2=-30.0),
        "sin_slant": projected("SIN", CDELT1=-0.04, CDELT2=0.04, PV2_1=0.11, PV2_2=-0.2),
        "ncp": projected("NCP", CRVAL2=-43.2),
        "arc_wide": projected("ARC", wide=True),
        "stg_wide": projected("STG", wide=True),
        "zea_wide": projected("ZEA", wide=True, CRVAL2=-70.0),
        "zpn": projected("ZPN", CDELT1=-0.02, CDELT2=0.02, PV2_1=1.0, PV2_3=42.0),
        "zpn_even": projected("ZPN", CDELT1=-0.05, CDELT2=0.05, PV2_1=0.9, PV2_2=0.1, PV2_4=-0.3),
        "car_wide": projected("CAR", wide=True, CRVAL2=0.0),
        "car_oblique": projected("CAR", wide=True, CRVAL2=30.0, LATPOLE=-45.0),
        "car_lonpole": projected("CAR", wide=True, CRVAL2=-20.0, LONPOLE=160.0),
        "car_reference_at_pole": projected("CAR", wide=True, CRVAL2=90.0, LONPOLE=0.0),
        "cea": projected("CEA", wide=True, CRVAL2=0.0, PV2_1=0.6),
        "cyp": projected("CYP", wide=True, CRVAL2=0.0, PV2_1=0.7, PV2_2=0.9),
        "mer": projected("MER", wide=True, CRVAL2=10.0),
        "sfl": projected("SFL", wide=True, CRVAL2=0.0),
        "gls": projected("GLS", CRVAL2=41.0),
        "gls_rotated": projected("GLS", CRVAL2=-12.0, CROTA2=20.0),
        "sfl_offset": projected("SFL", PV1_0=1.0, PV1_1=5.0, PV1_2=20.0),
        "car_native_point": projected("CAR", PV1_1=10.0, PV1_2=20.0, CRVAL2=15.0),
        "par": projected("PAR", wide=True, CRVAL2=0.0),
        "mol": projected("MOL", wide=True, CRVAL2=0.0),
        "mol_oblique": projected("MOL", wide=True, CRVAL2=50.0),
        "ait": projected("AIT", wide=True, CRVAL2=0.0),
        "ait_oblique": projected("AIT", wide=True, CRVAL2=-66.0, LONPOLE=170.0),
        "bon": projected("BON", wide=True, CRVAL2=0.0, PV2_1=40.0),
        "cop": projected("COP", wide=True, CRVAL2=45.0, PV2_1=45.0, PV2_2=20.0),
        "coe": projected("COE", wide=True, CRVAL2=-45.0, PV2_1=-45.0, PV2_2=20.0),
        "cod": projected("COD", wide=True, CRVAL2=30.0, PV2_1=45.0, PV2_2=20.0),
        "cod_one_parallel": projected("COD", wide=True, CRVAL2=45.0, PV2_1=45.0),
        "coo": projected("COO", wide=True, CRVAL2=45.0, PV2_1=45.0, PV2_2=20.0),
        "coo_south": projected("COO", wide=True, CRVAL2=-45.0, PV2_1=-50.0),
        "hpx": projected("HPX", wide=True, CRVAL2=0.0),
        "hpx_even": projected("HPX", wide=True, CRVAL2=0.0, PV2_1=6.0, PV2_2=4.0),
        "sip_2": TAN | CD | sip(2, 3.0),
        "sip_5": TAN | CD | sip(5, 3.0),
        "sip_by_terms_alone": TAN | CD | sip(3, 3.0) | {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN"},
        "sip_beside_tpv": TAN | CD | sip(3, 3.0) | {"PV1_1": 1.1, "PV1_5": 0.1, "PV2_1": 0.9},
        "tpv_3": TAN | CD | tpv(3),
        "tpv_7": TAN | CD | tpv(7),
        "tpv_as_tan": TAN | CD | tpv(7) | {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN"},
        "dss": TAN | STEPS | dss(),
        "galactic": {"CTYPE1": "GLON-CAR", "CTYPE2": "GLAT-CAR", "CRPIX1": 513.0, "CRPIX2": 257.0, "CRVAL1": 18.2, "CRVAL2": 0.2} | STEPS,
        "fk4": TAN | STEPS | {"EPOCH": 1950.0},
        "fk5": TAN | STEPS | {"RADESYS": "FK5", "EQUINOX": 1991.25},
    }  # fmt: skip
    return {name: header(cards) for name, cards in cases.items()}


# --- cases ------------------------------------------------------------------------------


def wcs_of(cards):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return WCS(cards, fix=True).celestial if "CTYPE3" in cards else WCS(cards, fix=True)


def case(name, cards, shape, count, rng):
    """Random pixels of an image, on the sky by astropy, and those places in pixels again."""
    wcs = wcs_of(cards)
    ny, nx = shape
    # Some beyond the edges, as a regrid asks for them.
    x, y = (rng.uniform(-0.1 * n, 1.1 * n, count) for n in (nx, ny))
    is_distorted = wcs.sip is not None or "AMDX1" in cards or any(cards.get(f"PV{axis}_{m}") is not None for axis in (1, 2) for m in range(5, 40))
    lon, lat = swapped(wcs, wcs.all_pix2world(x, y, 0))
    places = np.isfinite(lon) & np.isfinite(lat)
    back_x, back_y = np.full(count, np.nan), np.full(count, np.nan)
    if not is_distorted and places.any():
        back_x[places], back_y[places] = wcs.wcs_world2pix(*swapped(wcs, (lon[places], lat[places])), 0)
    points = [
        [numbers(p), numbers(sky), numbers(back)]
        for p, sky, back in zip(zip(x, y), zip(lon, lat), zip(back_x, back_y), strict=True)
    ]
    scale = float(np.sqrt(abs(np.linalg.det(wcs.pixel_scale_matrix)))) * 3600
    frame = utils.wcs_to_celestial_frame(wcs)
    center = swapped(wcs, wcs.all_pix2world([[(nx - 1) / 2, (ny - 1) / 2]], 0)[0])
    icrs = SkyCoord(*center, unit="deg", frame=frame).icrs if np.isfinite(center).all() else None
    return {
        "name": name,
        "cards": [str(card).rstrip() for card in cards.cards if card.keyword.startswith(tuple(PREFIXES))],
        "shape": [ny, nx],
        "scale_arcsec": scale,
        "center": numbers(center),
        "center_icrs": numbers((icrs.ra.degree, icrs.dec.degree)) if icrs is not None else None,
        # The pixel, the sky there, and the pixel that astropy finds for that place.
        "points": points,
    }


def swapped(wcs, pair):
    """Longitude and latitude in this order from that of the axes, or the other way."""
    first, second = pair
    return (first, second) if wcs.wcs.lng < wcs.wcs.lat else (second, first)


def numbers(pair):
    return [float(value) for value in pair] if np.isfinite(pair).all() else None


def generated_cases():
    rng = np.random.default_rng(2)
    return [case(name, cards, (960, 1024), 14, rng) for name, cards in generated().items()]


def conversions():
    """Directions in one frame, and the same in another."""
    frames = {
        "ICRS": ICRS(),
        "FK5 2000": FK5(equinox=Time(2000, format="jyear")),
        "FK5 1985.5": FK5(equinox=Time(1985.5, format="jyear")),
        "FK4 1950": FK4(equinox=Time(1950, format="byear")),
        "FK4 1975": FK4(equinox=Time(1975, format="byear")),
        "FK4-NO-E 1950": FK4NoETerms(equinox=Time(1950, format="byear")),
        "GALACTIC": Galactic(),
    }
    rng = np.random.default_rng(4)
    out = []
    for start_name, start in frames.items():
        for end_name, end in frames.items():
            lon, lat = rng.uniform(0, 360), np.degrees(np.arcsin(rng.uniform(-1, 1)))
            sky = SkyCoord(lon * units.deg, lat * units.deg, frame=start)
            if isinstance(start, FK4):
                # On its way to FK5 astropy would precess by Newcomb to the equinox of FK5 and back again, which are
                # no exact inverses: 2e-5 arcsec.
                sky = sky.transform_to(FK4NoETerms(equinox=start.equinox, obstime=start.obstime))
            sky = sky.transform_to(end).spherical
            out.append([start_name, end_name, [float(lon), float(lat)], [float(sky.lon.degree), float(sky.lat.degree)]])
    return out


# --- real files -------------------------------------------------------------------------


def real_headers(folder):
    """Names, headers and shapes of all images below a folder that have celestial axes."""
    for path in sorted(Path(folder).rglob("*.fits*")):
        with warnings.catch_warnings(), fits.open(path) as hdus:
            warnings.simplefilter("ignore")
            for number, hdu in enumerate(hdus):
                if not hdu.is_image or hdu.header.get("NAXIS", 0) < 2:
                    continue
                # Of other headers astropy makes a WCS of nothing, or none at all.
                if any(str(hdu.header.get(f"CTYPE{axis}", "")).startswith(("RA-", "GLON")) for axis in (1, 2, 3, 4)):
                    yield f"{path.name}[{number}]", hdu.header, hdu.shape[-2:]


def real_cases(folder, count=200):
    rng = np.random.default_rng(3)
    return [case(name, cards, shape, count, rng) for name, cards, shape in real_headers(folder)]


if __name__ == "__main__":
    found = real_cases(sys.argv[1])
    Path(sys.argv[2]).write_text(json.dumps({"format": 1, "cases": found, "conversions": []}))
    print(f"{len(found)} headers")
