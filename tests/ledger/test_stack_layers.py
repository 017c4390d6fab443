import polars as pl
import pytest

from ledger.stack_layers import LAYERS, stack_layer


@pytest.mark.parametrize(
    ("service", "category", "layer"),
    [
        ("Amazon Elastic Compute Cloud", "Compute", "compute"),
        ("Amazon Elastic Compute Cloud", "Storage", "storage"),
        ("AmazonEC2", "Compute Instance", "compute"),
        ("AmazonEC2", "Storage", "storage"),
        ("AmazonEC2", "Storage Snapshot", "storage"),
        ("AmazonEC2", "Data Transfer", "compute"),
        ("AmazonEC2", "Load Balancer", "serving_observability"),
        ("AmazonEC2", "", "compute"),
        ("AmazonS3", "Storage", "storage"),
        ("Amazon Elastic Container Service for Kubernetes", "Other", "orchestration"),
        ("AmazonEKS", "Compute", "orchestration"),
        ("Azure Kubernetes Service", "Compute", "orchestration"),
        ("Amazon Simple Queue Service", "Integration", "orchestration"),
        ("AmazonCloudWatch", "Management and Governance", "serving_observability"),
        ("Elastic Load Balancing", "Networking", "serving_observability"),
        ("AWSELB", "Load Balancer-Application", "serving_observability"),
        ("Amazon Bedrock", "AI and Machine Learning", "serving_observability"),
        ("Amazon SageMaker", "AI and Machine Learning", "model_toolchain"),
        ("Azure Machine Learning", "AI and Machine Learning", "model_toolchain"),
        ("Amazon EC2 Container Registry (ECR)", "Other", "model_toolchain"),
        ("AWS Key Management Service", "Identity", "data_governance"),
        ("Amazon Relational Database Service", "Databases", "data_governance"),
        ("Virtual Machines", "Compute", "compute"),
        ("Storage Accounts", "Storage", "storage"),
        ("AWS Support (Business)", "Other", "data_governance"),
        ("Something new", "Something else", "data_governance"),
        ("", "", "data_governance"),
    ],
)
def test_each_service_belongs_to_a_layer(service, category, layer):
    frame = pl.DataFrame({"s": [service], "c": [category]})
    assert frame.select(stack_layer(pl.col("s"), pl.col("c"))).item() == layer
    assert layer in LAYERS
