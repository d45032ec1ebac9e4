"""Every facade that draws: the same call after the same seed gives PyTorch's numbers."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import funtorch

torch = pytest.importorskip("torch", reason="real PyTorch is the oracle")

CALLS = [
    "T.rand(3)",
    "T.rand(2,3,dtype=T.float64)",
    "T.rand((4,),dtype=T.bfloat16)",
    "T.rand(3,dtype=T.complex64)",
    "T.randn(5)",
    "T.randn(100)",
    "T.randn(4,5,dtype=T.float64)",
    "T.randn(40,dtype=T.complex64)",
    "T.randn(3,dtype=T.complex128)",
    "T.randn(20,dtype=T.float16)",
    "T.randint(5,(3,))",
    "T.randint(2,9,(3,2))",
    "T.randint(low=1,high=4,size=(5,),dtype=T.int32)",
    "T.randint(2**40,(5,))",
    "T.randint(10,(4,),dtype=T.float32)",
    "T.randperm(10)",
    "T.randperm(1000)",
    "T.randperm(7,dtype=T.int32)",
    "T.rand_like(T.zeros(3,4))",
    "T.randn_like(T.zeros(4,5))",
    "T.randn_like(T.zeros(4,5).t())",
    "T.randint_like(T.zeros(3,dtype=T.int64),3,9)",
    "T.rand_like(T.zeros(4,5).t())",
    "T.zeros(4,5).t().normal_()",
    "T.zeros(20,3)[:,1].normal_()",
    "T.zeros(20,3)[:,1:].uniform_(1,2)",
    "T.zeros(2,3,4,5).contiguous(memory_format=T.channels_last).uniform_()",
    "T.zeros(2,3,4).permute(2,0,1).random_(0,100)",
    "T.zeros(3,dtype=T.int64).random_()",
    "T.zeros(30).random_()",
    "T.zeros(30,dtype=T.bool).random_()",
    "T.zeros(30,dtype=T.uint8).random_(200)",
    "T.zeros(8).normal_(2,3)",
    "T.zeros(16,dtype=T.bfloat16).normal_(2,.3)",
    "T.zeros(50).bernoulli_(0.3)",
    "T.zeros(50,dtype=T.int32).bernoulli_(0.3)",
    "T.zeros(10,dtype=T.bool).bernoulli_()",
    "T.zeros(5).exponential_(2.)",
    "T.zeros(5).geometric_(.3)",
    "T.zeros(5).cauchy_(1,2)",
    "T.zeros(5).log_normal_(0,.5)",
    "T.zeros(5,2).bernoulli_(T.tensor([.2,.8]))",
    "T.zeros(4,dtype=T.int64).bernoulli_(T.full((4,),.5,dtype=T.float64))",
    "T.bernoulli(T.full((20,),.4))",
    "T.bernoulli(T.full((20,),.4,dtype=T.float64))",
    "T.bernoulli(T.zeros(20),.4)",
    "T.zeros(9).bernoulli(.3)",
    "T.bernoulli(T.full((20,),.4,dtype=T.bfloat16))",
    "T.normal(T.arange(5.),T.ones(5))",
    "T.normal(T.zeros(3,1),T.arange(1.,5.))",
    "T.normal(2.,T.ones(20))",
    "T.normal(T.zeros(20),3.)",
    "T.normal(0.,2.,(3,))",
    "T.normal(1,2,size=(20,))",
    "T.normal(mean=T.arange(1.,11.), std=T.arange(1,0,-.1))",
    "T.multinomial(T.tensor([.1,.2,.7]),2)",
    "T.multinomial(T.tensor([[.1,.2,.7],[.5,.5,0]]),20,True)",
    "T.multinomial(T.arange(1.,50.),20)",
    "T.multinomial(T.arange(1.,50.,dtype=T.float64),1)",
    "T.multinomial(T.arange(1.,50.).bfloat16(),4)",
    "T.multinomial(T.arange(1.,50.).bfloat16(),4,True)",
    "T.poisson(T.full((20,),4.))",
    "T.poisson(T.full((20,),40.))",
    "T.binomial(T.full((20,),40.),T.full((20,),.3))",
    "T._standard_gamma(T.full((20,),.3,dtype=T.float64))",
    "T._standard_gamma(T.full((20,),3.))",
    "T._sample_dirichlet(T.full((4,3),.7))",
    "T._sample_dirichlet(T.full((4,3),.7,dtype=T.float64))",
    "T.dropout(T.ones(20),.3,True)",
    "T.feature_dropout(T.ones(4,5,2),.3,True)",
    "T.alpha_dropout(T.ones(10),.3,True)",
    "T.feature_alpha_dropout(T.ones(3,4,2),.3,True)",
    "T.native_dropout(T.ones(10),.3,True)",
    "T.dropout(T.ones(20),.3,False)",
    "T.dropout(T.ones(5),1.,True)",
    "T.rrelu(T.arange(-5.,5.),.1,.3,True)",
    "T.rrelu(T.arange(-5.,5.))",
    "T.dropout(T.ones(4,5).t(),.5,True)",
    "T.dropout_(T.ones(5),.5,True)",
    "F.dropout(T.ones(20))",
    "F.dropout(T.ones(20),.2,inplace=True)",
    "F.dropout1d(T.ones(4,5))",
    "F.dropout2d(T.ones(4,5))",
    "F.dropout2d(T.ones(4,5,2))",
    "F.dropout2d(T.ones(4,5,2,2))",
    "F.dropout3d(T.ones(3,4,2,2))",
    "F.dropout3d(T.ones(3,4,1,2,2))",
    "F.alpha_dropout(T.ones(9),.5,True)",
    "F.feature_alpha_dropout(T.ones(3,4,5),.5,True)",
    "F.rrelu(-T.ones(5),training=True)",
    "F.rrelu_(-T.ones(5),training=True)",
    "F.dropout1d(T.ones(4,5),inplace=True)",
    "T.rand(3,generator=T.Generator().manual_seed(4))",
    "T.empty(5).exponential_(generator=T.Generator().manual_seed(4))",
]

REFUSED = [
    "T.randn(3, dtype=T.int64)",
    "T.rand(3, dtype=T.bool)",
    "T.empty(3).uniform_(2, 1)",
    "T.empty(3).normal_(0, -1)",
    "T.empty(3).bernoulli_(1.5)",
    "T.bernoulli(T.tensor([1, 0]))",
    "T.empty(3, dtype=T.int32).exponential_()",
    "T.empty(3).exponential_(0)",
    "T.empty(3).geometric_(1)",
    "T.empty(3).cauchy_(0, 0)",
    "T.empty(3).log_normal_(0, 0)",
    "T.empty(3).random_(5, 5)",
    "T.empty(3, dtype=T.uint8).random_(0, 300)",
    "T.randint(5, 5, (2,))",
    "T.randperm(-1)",
    "T.randperm(300, dtype=T.uint8)",
    "T.multinomial(T.tensor([1., 2]), 3)",
    "T.multinomial(T.tensor([-1., 2]), 1)",
    "T.multinomial(T.zeros(2), 1)",
    "T.multinomial(T.ones(2, 2, 2), 1)",
    "T.poisson(T.tensor([-1.]))",
    "T.poisson(T.tensor([1]))",
    "T.binomial(T.tensor([3]), T.tensor([.5]))",
    "F.dropout(T.ones(3), 1.5)",
    "T.dropout(T.ones(3), 1.5, True)",
    "F.dropout1d(T.ones(2))",
    "T.feature_dropout(T.ones(3), .5, True)",
    "F.dropout(T.ones(3, dtype=T.int64))",
    "F.rrelu(T.ones(3), .3, .1, training=True)",
    "T.randn()",
    "T.manual_seed(2**64)",
    "T.set_rng_state(T.zeros(3, dtype=T.uint8))",
    "T.set_rng_state(T.zeros(3))",
    "T.Generator().get_offset()",
]


def run(call, package):
    package.manual_seed(11)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = eval(call, {"T": package, "F": package.nn.functional})
    return result if isinstance(result, tuple) else (result,)


def numbers(tensor, package):
    return (tensor.float() if tensor.dtype == package.bfloat16 else tensor).detach().numpy()


@pytest.mark.parametrize("call", CALLS)
def test_same_seed_same_numbers(call):
    wanted, got = run(call, torch), run(call, funtorch)
    for theirs, ours in zip(wanted, got, strict=True):
        assert str(ours.dtype) == str(theirs.dtype)
        assert ours.stride() == theirs.stride()
        np.testing.assert_allclose(
            numbers(ours, funtorch), numbers(theirs, torch), rtol=2e-6, atol=1e-7
        )
    states = [package.get_rng_state().numpy()[:5024] for package in (torch, funtorch)]
    np.testing.assert_array_equal(*states)


@pytest.mark.parametrize("call", REFUSED)
def test_refusals(call):
    with pytest.raises(Exception) as wanted:
        run(call, torch)
    with pytest.raises(wanted.type):
        run(call, funtorch)
