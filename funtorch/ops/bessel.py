"""torch.special: Bessel and Airy functions, by the approximations that PyTorch takes.

They are those of Cephes (S. Moshier, 1989): quotients of polynomials and Chebyshev series. PyTorch
reads Cephes' denominators without their leading one, so its J and Y differ from the true functions
by up to 4e-7; these do as well.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp

from funtorch.ops._declare import Array, op
from funtorch.ops._promote import refuse

Coefficients = Sequence[float]


def _polynomial(x: Array, coefficients: Coefficients) -> Array:
    """Horner's scheme, the highest power first."""
    total = jnp.zeros_like(x)
    for c in coefficients:
        total = total * x + c
    return total


def _chebyshev(x: Array, coefficients: Coefficients) -> Array:
    """Clenshaw's recurrence, the highest degree first."""
    before = second = jnp.zeros_like(x)
    total = jnp.full_like(x, coefficients[0])
    for c in coefficients[1:]:
        second, before = before, total
        total = x * before - second + c
    return 0.5 * (total - second)


def _elementwise(name: str, lower: Callable[[Array], Array], meaning: str) -> None:
    """Declare lower: [...] -> [...] in torch.special; without a gradient, as in PyTorch."""

    def body(self: Array) -> Array:
        refuse(name, self, "half", "c")
        return lower(self)

    body.__name__ = name
    body.__doc__ = f"{meaning} self: [...] -> [...]"
    op(
        "special",
        function=False,
        promote="float",
        layout="pointwise",
        differentiable=False,
        single=body,
    )(body)


# J and Y ------------------------------------------------------------------------------------------

Far = tuple[Coefficients, Coefficients, Coefficients, Coefficients]
"""Beyond 5, polynomials in 25 / x^2: modulus (over and under the line) and phase (the same)."""

_FAR_0: Far = (
    (
        *(7.96936729297347051624e-04, 8.28352392107440799803e-02, 1.23953371646414299388e00),
        *(5.44725003058768775090e00, 8.74716500199817011941e00, 5.30324038235394892183e00),
        9.99999999999999997821e-01,
    ),
    (
        *(9.24408810558863637013e-04, 8.56288474354474431428e-02, 1.25352743901058953537e00),
        *(5.47097740330417105182e00, 8.76190883237069594232e00, 5.30605288235394617618e00),
        1.00000000000000000218e00,
    ),
    (
        *(-1.13663838898469149931e-02, -1.28252718670509318512e00, -1.95539544257735972385e01),
        *(-9.32060152123768231369e01, -1.77681167980488050595e02, -1.47077505154951170175e02),
        *(-5.14105326766599330220e01, -6.05014350600728481186e00),
    ),
    (
        *(6.43178256118178023184e01, 8.56430025976980587198e02, 3.88240183605401609683e03),
        *(7.24046774195652478189e03, 5.93072701187316984827e03, 2.06209331660327847417e03),
        2.42005740240291393179e02,
    ),
)
_FAR_1: Far = (
    (
        *(7.62125616208173112003e-04, 7.31397056940917570436e-02, 1.12719608129684925192e00),
        *(5.11207951146807644818e00, 8.42404590141772420927e00, 5.21451598682361504063e00),
        1.00000000000000000254e00,
    ),
    (
        *(5.71323128072548699714e-04, 6.88455908754495404082e-02, 1.10514232634061696926e00),
        *(5.07386386128601488557e00, 8.39985554327604159757e00, 5.20982848682361821619e00),
        9.99999999999999997461e-01,
    ),
    (
        *(5.10862594750176621635e-02, 4.98213872951233449420e00, 7.58238284132545283818e01),
        *(3.66779609360150777800e02, 7.10856304998926107277e02, 5.97489612400613639965e02),
        *(2.11688757100572135698e02, 2.52070205858023719784e01),
    ),
    (
        *(7.42373277035675149943e01, 1.05644886038262816351e03, 4.98641058337653607651e03),
        *(9.56231892404756170795e03, 7.99704160447350683650e03, 2.82619278517639096600e03),
        3.36093607810698293419e02,
    ),
)
_NEAR_J0 = (
    (
        *(-4.79443220978201773821e09, 1.95617491946556577543e12),
        *(-2.49248344360967716204e14, 9.70862251047306323952e15),
    ),
    (
        *(4.99563147152651017219e02, 1.73785401676374683123e05, 4.84409658339962045305e07),
        *(1.11855537045356834862e10, 2.11277520115489217587e12, 3.10518229857422583814e14),
        *(3.18121955943204943306e16, 1.71086294081043136091e18),
    ),
)
_ZEROS_J0 = 5.78318596294678452118e00, 3.04712623436620863991e01
"""The squares of the first two zeros."""
_NEAR_J1 = (
    (
        *(-8.99971225705559398224e08, 4.52228297998194034323e11),
        *(-7.27494245221818276015e13, 3.68295732863852883286e15),
    ),
    (
        *(6.20836478118054335476e02, 2.56987256757748830383e05, 8.35146791431949253037e07),
        *(2.21511595479792499675e10, 4.74914122079991414898e12, 7.84369607876235854894e14),
        *(8.95222336184627338078e16, 5.32278620332680085395e18),
    ),
)
_ZEROS_J1 = 1.46819706421238932572e01, 4.92184563216946036703e01
_NEAR_Y0 = (
    (
        *(1.55924367855235737965e04, -1.46639295903971606143e07, 5.43526477051876500413e09),
        *(-9.82136065717911466409e11, 8.75906394395366999549e13, -3.46628303384729719441e15),
        *(4.42733268572569800351e16, -1.84950800436986690637e16),
    ),
    (
        *(1.04128353664259848412e03, 6.26107330137134956842e05, 2.68919633393814121987e08),
        *(8.64002487103935000337e10, 2.02979612750105546709e13, 3.17157752842975028269e15),
        2.50596256172653059228e17,
    ),
)
_NEAR_Y1 = (
    (
        *(1.26320474790178026440e09, -6.47355876379160291031e11, 1.14509511541823727583e14),
        *(-8.12770255501325109621e15, 2.02439475713594898196e17, -7.78877196265950026825e17),
    ),
    (
        *(5.94301592346128195359e02, 2.35564092943068577943e05, 7.34811944459721705660e07),
        *(1.87601316108706159478e10, 3.88231277496238566008e12, 6.20557727146953693363e14),
        *(6.87141087355300489866e16, 3.97270608116560655612e18),
    ),
)


def _ratio(x: Array, tables: Sequence[Coefficients]) -> Array:
    over, under = tables
    return _polynomial(x, over) / _polynomial(x, under)


def _far(x: Array, w: Array, tables: Far, phase: float, second: bool) -> Array:
    """Hankel's asymptotic form, for x > 5. w: 25 / x^2, rounded as PyTorch does."""
    modulus, rest = _ratio(w, tables[:2]), 5 / x * _ratio(w, tables[2:])
    sine, cosine = jnp.sin(x - phase), jnp.cos(x - phase)
    found = modulus * sine + rest * cosine if second else modulus * cosine - rest * sine
    return found * math.sqrt(2 / math.pi) / jnp.sqrt(x)


def _far_0(x: Array, second: bool) -> Array:
    return _far(x, 25 / (x * x), _FAR_0, math.pi / 4, second)


def _far_1(x: Array, second: bool) -> Array:
    return _far(x, 5 / x * (5 / x), _FAR_1, 3 * math.pi / 4, second)


def _j0(x: Array) -> Array:
    x = jnp.abs(x)
    square, (first, second) = x * x, _ZEROS_J0
    over, under = (_polynomial(square, table) for table in _NEAR_J0)
    near = (square - first) * (square - second) * over / under
    near = jnp.where(x < 1e-5, 1 - square / 4, near)
    return jnp.where(x <= 5, near, _far_0(x, second=False))


def _j1(signed: Array) -> Array:
    x = jnp.abs(signed)
    square, (first, second) = x * x, _ZEROS_J1
    near = _ratio(square, _NEAR_J1) * x * (square - first) * (square - second)
    found = jnp.where(x <= 5, near, _far_1(x, second=False))
    return jnp.where(signed < 0, -found, found)


def _from_zero_on(x: Array, found: Array, at_zero: float) -> Array:
    """NaN below zero, where the functions of the second kind are not defined."""
    return jnp.where(x == 0, at_zero, jnp.where(x < 0, jnp.nan, found))


def _y0(x: Array) -> Array:
    near = _ratio(x * x, _NEAR_Y0) + 2 / math.pi * jnp.log(x) * _j0(x)
    found = jnp.where(x <= 5, near, _far_0(x, second=True))
    return _from_zero_on(x, found, -math.inf)


def _y1(x: Array) -> Array:
    near = x * _ratio(x * x, _NEAR_Y1) + 2 / math.pi * (_j1(x) * jnp.log(x) - 1 / x)
    found = jnp.where(x <= 5, near, _far_1(x, second=True))
    return _from_zero_on(x, found, -math.inf)


# I and K, modified --------------------------------------------------------------------------------

_I0_NEAR = (
    *(-4.41534164647933937950e-18, 3.33079451882223809783e-17, -2.43127984654795469359e-16),
    *(1.71539128555513303061e-15, -1.16853328779934516808e-14, 7.67618549860493561688e-14),
    *(-4.85644678311192946090e-13, 2.95505266312963983461e-12, -1.72682629144155570723e-11),
    *(9.67580903537323691224e-11, -5.18979560163526290666e-10, 2.65982372468238665035e-09),
    *(-1.30002500998624804212e-08, 6.04699502254191894932e-08, -2.67079385394061173391e-07),
    *(1.11738753912010371815e-06, -4.41673835845875056359e-06, 1.64484480707288970893e-05),
    *(-5.75419501008210370398e-05, 1.88502885095841655729e-04, -5.76375574538582365885e-04),
    *(1.63947561694133579842e-03, -4.32430999505057594430e-03, 1.05464603945949983183e-02),
    *(-2.37374148058994688156e-02, 4.93052842396707084878e-02, -9.49010970480476444210e-02),
    *(1.71620901522208775349e-01, -3.04682672343198398683e-01, 6.76795274409476084995e-01),
)
_I0_FAR = (
    *(-7.23318048787475395456e-18, -4.83050448594418207126e-18, 4.46562142029675999901e-17),
    *(3.46122286769746109310e-17, -2.82762398051658348494e-16, -3.42548561967721913462e-16),
    *(1.77256013305652638360e-15, 3.81168066935262242075e-15, -9.55484669882830764870e-15),
    *(-4.15056934728722208663e-14, 1.54008621752140982691e-14, 3.85277838274214270114e-13),
    *(7.18012445138366623367e-13, -1.79417853150680611778e-12, -1.32158118404477131188e-11),
    *(-3.14991652796324136454e-11, 1.18891471078464383424e-11, 4.94060238822496958910e-10),
    *(3.39623202570838634515e-09, 2.26666899049817806459e-08, 2.04891858946906374183e-07),
    *(2.89137052083475648297e-06, 6.88975834691682398426e-05, 3.36911647825569408990e-03),
    8.04490411014108831608e-01,
)
_I1_NEAR = (
    *(2.77791411276104639959e-18, -2.11142121435816608115e-17, 1.55363195773620046921e-16),
    *(-1.10559694773538630805e-15, 7.60068429473540693410e-15, -5.04218550472791168711e-14),
    *(3.22379336594557470981e-13, -1.98397439776494371520e-12, 1.17361862988909016308e-11),
    *(-6.66348972350202774223e-11, 3.62559028155211703701e-10, -1.88724975172282928790e-09),
    *(9.38153738649577178388e-09, -4.44505912879632808065e-08, 2.00329475355213526229e-07),
    *(-8.56872026469545474066e-07, 3.47025130813767847674e-06, -1.32731636560394358279e-05),
    *(4.78156510755005422638e-05, -1.61760815825896745588e-04, 5.12285956168575772895e-04),
    *(-1.51357245063125314899e-03, 4.15642294431288815669e-03, -1.05640848946261981558e-02),
    *(2.47264490306265168283e-02, -5.29459812080949914269e-02, 1.02643658689847095384e-01),
    *(-1.76416518357834055153e-01, 2.52587186443633654823e-01),
)
_I1_FAR = (
    *(7.51729631084210481353e-18, 4.41434832307170791151e-18, -4.65030536848935832153e-17),
    *(-3.20952592199342395980e-17, 2.96262899764595013876e-16, 3.30820231092092828324e-16),
    *(-1.88035477551078244854e-15, -3.81440307243700780478e-15, 1.04202769841288027642e-14),
    *(4.27244001671195135429e-14, -2.10154184277266431302e-14, -4.08355111109219731823e-13),
    *(-7.19855177624590851209e-13, 2.03562854414708950722e-12, 1.41258074366137813316e-11),
    *(3.25260358301548823856e-11, -1.89749581235054123450e-11, -5.58974346219658380687e-10),
    *(-3.83538038596423702205e-09, -2.63146884688951950684e-08, -2.51223623787020892529e-07),
    *(-3.88256480887769039346e-06, -1.10588938762623716291e-04, -9.76109749136146840777e-03),
    7.78576235018280120474e-01,
)
_K0_NEAR = (
    *(1.37446543561352307156e-16, 4.25981614279661018399e-14, 1.03496952576338420167e-11),
    *(1.90451637722020886025e-09, 2.53479107902614945675e-07, 2.28621210311945178607e-05),
    *(1.26461541144692592338e-03, 3.59799365153615016266e-02, 3.44289899924628486886e-01),
    -5.35327393233902768720e-01,
)
_K0_FAR = (
    *(5.30043377268626276149e-18, -1.64758043015242134646e-17, 5.21039150503902756861e-17),
    *(-1.67823109680541210385e-16, 5.51205597852431940784e-16, -1.84859337734377901440e-15),
    *(6.34007647740507060557e-15, -2.22751332699166985548e-14, 8.03289077536357521100e-14),
    *(-2.98009692317273043925e-13, 1.14034058820847496303e-12, -4.51459788337394416547e-12),
    *(1.85594911495471785253e-11, -7.95748924447710747776e-11, 3.57739728140030116597e-10),
    *(-1.69753450938905987466e-09, 8.57403401741422608519e-09, -4.66048989768794782956e-08),
    *(2.76681363944501510342e-07, -1.83175552271911948767e-06, 1.39498137188764993662e-05),
    *(-1.28495495816278026384e-04, 1.56988388573005337491e-03, -3.14481013119645005427e-02),
    2.44030308206595545468e00,
)
_K1_NEAR = (
    *(-7.02386347938628759343e-18, -2.42744985051936593393e-15, -6.66690169419932900609e-13),
    *(-1.41148839263352776110e-10, -2.21338763073472585583e-08, -2.43340614156596823496e-06),
    *(-1.73028895751305206302e-04, -6.97572385963986435018e-03, -1.22611180822657148235e-01),
    *(-3.53155960776544875667e-01, 1.52530022733894777053e00),
)
_K1_FAR = (
    *(-5.75674448366501715755e-18, 1.79405087314755922667e-17, -5.68946255844285935196e-17),
    *(1.83809354436663880070e-16, -6.05704724837331885336e-16, 2.03870316562433424052e-15),
    *(-7.01983709041831346144e-15, 2.47715442448130437068e-14, -8.97670518232499435011e-14),
    *(3.34841966607842919884e-13, -1.28917396095102890680e-12, 5.13963967348173025100e-12),
    *(-2.12996783842756842877e-11, 9.21831518760500529508e-11, -4.19035475934189648750e-10),
    *(2.01504975519703286596e-09, -1.03457624656780970260e-08, 5.74108412545004946722e-08),
    *(-3.50196060308781257119e-07, 2.40648494783721712015e-06, -1.93619797416608296024e-05),
    *(1.95215518471351631108e-04, -2.85781685962277938680e-03, 1.03923736576817238437e-01),
    2.72062619048444266945e00,
)


def _i0(x: Array) -> Array:
    x = jnp.abs(x)
    near = jnp.exp(x) * _chebyshev(x / 2 - 2, _I0_NEAR)
    far = jnp.exp(x) * _chebyshev(32 / x - 2, _I0_FAR) / jnp.sqrt(x)
    return jnp.where(x <= 8, near, far)


def _i1(signed: Array) -> Array:
    x = jnp.abs(signed)
    near = _chebyshev(x / 2 - 2, _I1_NEAR) * x * jnp.exp(x)
    far = jnp.exp(x) * _chebyshev(32 / x - 2, _I1_FAR) / jnp.sqrt(x)
    found = jnp.where(x <= 8, near, far)
    return jnp.where(signed < 0, -found, found)


def _near_k0(x: Array) -> Array:
    return _chebyshev(x * x - 2, _K0_NEAR) - jnp.log(0.5 * x) * _i0(x)


def _near_k1(x: Array) -> Array:
    return jnp.log(0.5 * x) * _i1(x) + _chebyshev(x * x - 2, _K1_NEAR) / x


def _second_kind(
    near: Callable[[Array], Array], far: Coefficients, scaled: bool
) -> Callable[[Array], Array]:
    """near: the function up to 2. far: its series beyond, where exp(x) sqrt(x) is taken out."""

    def lower(x: Array) -> Array:
        small, series = near(x), _chebyshev(8 / x - 2, far)
        if scaled:
            found = jnp.where(x <= 2, small * jnp.exp(x), series / jnp.sqrt(x))
        else:
            found = jnp.where(x <= 2, small, jnp.exp(-x) * series / jnp.sqrt(x))
        return _from_zero_on(x, found, math.inf)

    return lower


# Airy ---------------------------------------------------------------------------------------------

_AIRY_RIGHT = (
    (
        *(3.46538101525629032477e-01, 1.20075952739645805542e01, 7.62796053615234516538e01),
        *(1.68089224934630576269e02, 1.59756391350164413639e02, 7.05360906840444183113e01),
        *(1.40264691163389668864e01, 9.99999999999999995305e-01),
    ),
    (
        *(5.67594532638770212846e-01, 1.47562562584847203173e01, 8.45138970141474626562e01),
        *(1.77318088145400459522e02, 1.64234692871529701831e02, 7.14778400825575695274e01),
        *(1.40959135607834029598e01, 1.00000000000000000470e00),
    ),
)
_AIRY_SINE = (
    (
        *(-1.31696323418331795333e-01, -6.26456544431912369773e-01, -6.93158036036933542233e-01),
        *(-2.79779981545119124951e-01, -4.91900132609500318020e-02, -4.06265923594885404393e-03),
        *(-1.59276496239262096340e-04, -2.77649108155232920844e-06, -1.67787698489114633780e-08),
    ),
    (
        *(1.33560420706553243746e01, 3.26825032795224613948e01, 2.67367040941499554804e01),
        *(9.18707402907259625840e00, 1.47529146771666414581e00, 1.15687173795188044134e-01),
        *(4.40291641615211203805e-03, 7.54720348287414296618e-05, 4.51850092970580378464e-07),
    ),
)
_AIRY_COSINE = (
    (
        *(1.97339932091685679179e-02, 3.91103029615688277255e-01, 1.06579897599595591108e00),
        *(9.39169229816650230044e-01, 3.51465656105547619242e-01, 6.33888919628925490927e-02),
        *(5.85804113048388458567e-03, 2.82851600836737019778e-04, 6.98793669997260967291e-06),
        *(8.11789239554389293311e-08, 3.41551784765923618484e-10),
    ),
    (
        *(9.30892908077441974853e00, 1.98352928718312140417e01, 1.55646628932864612953e01),
        *(5.47686069422975497931e00, 9.54293611618961883998e-01, 8.64580826352392193095e-02),
        *(4.12656523824222607191e-03, 1.01259085116509135510e-04, 1.17166733214413521882e-06),
        4.91834570062930015649e-09,
    ),
)
_AI_0, _SLOPE_0 = 0.355028053887817239260, 0.258819403792806798405
"""Ai(0), -Ai'(0)."""
_AIRY_EDGE, _AIRY_END, _AIRY_TERMS = 2.09, 103.892, 16


def _airy_series(x: Array) -> Array:
    """Maclaurin's series; an element stops when its terms no longer count."""
    cube = x * x * x
    f, g, m, n = jnp.ones_like(x), x, jnp.ones_like(x), x
    going = jnp.full(x.shape, True)
    for k in range(2, 2 + 3 * _AIRY_TERMS, 3):
        m = m * cube / k / (k + 1)
        n = n * cube / (k + 1) / (k + 2)
        f, g = jnp.where(going, f + m, f), jnp.where(going, g + n, g)
        going = going & (jnp.abs(m / f) > jnp.finfo(x.dtype).eps)
    return _AI_0 * f - _SLOPE_0 * g


def _airy_ai(x: Array) -> Array:
    size = jnp.abs(x)
    root = jnp.sqrt(size)
    zeta = 2 * size * root / 3
    z = 1 / zeta
    right = (1 / math.sqrt(math.pi)) * _ratio(z, _AIRY_RIGHT) / (2 * jnp.sqrt(root) * jnp.exp(zeta))
    turn, square = zeta + 0.25 * math.pi, z * z
    over, under = (_polynomial(square, table) for table in _AIRY_SINE)
    waves = jnp.sin(turn) * (1 + z * z * over / under)
    over, under = (_polynomial(square, table) for table in _AIRY_COSINE)
    waves = waves - jnp.cos(turn) * (z * over / under)
    left = (1 / math.sqrt(math.pi)) / jnp.sqrt(root) * waves
    near = _airy_series(jnp.where(size < _AIRY_EDGE, x, jnp.where(jnp.isnan(x), x, 0)))
    found = jnp.where(x < -_AIRY_EDGE, left, jnp.where(x >= _AIRY_EDGE, right, near))
    return jnp.where(jnp.isinf(x), jnp.nan, jnp.where(x > _AIRY_END, 0, found))


_DECLARED: tuple[tuple[str, Any, str], ...] = (
    ("airy_ai", _airy_ai, "Airy function Ai."),
    ("bessel_j0", _j0, "Bessel function of the first kind, order 0."),
    ("bessel_j1", _j1, "Bessel function of the first kind, order 1."),
    ("bessel_y0", _y0, "Bessel function of the second kind, order 0."),
    ("bessel_y1", _y1, "Bessel function of the second kind, order 1."),
    ("modified_bessel_i0", _i0, "Modified Bessel function, order 0."),
    ("modified_bessel_i1", _i1, "Modified Bessel function, order 1."),
    (
        "modified_bessel_k0",
        _second_kind(_near_k0, _K0_FAR, scaled=False),
        "Modified Bessel of the second kind, order 0.",
    ),
    (
        "modified_bessel_k1",
        _second_kind(_near_k1, _K1_FAR, scaled=False),
        "Modified Bessel of the second kind, order 1.",
    ),
    (
        "scaled_modified_bessel_k0",
        _second_kind(_near_k0, _K0_FAR, scaled=True),
        "exp(x) times modified_bessel_k0.",
    ),
    (
        "scaled_modified_bessel_k1",
        _second_kind(_near_k1, _K1_FAR, scaled=True),
        "exp(x) times modified_bessel_k1.",
    ),
)
for _name, _lower, _meaning in _DECLARED:
    _elementwise(_name, _lower, _meaning)
